"""What a record is and how anyone proves it: canonical bytes, Merkle tree, signed notes, bundle, verifier."""

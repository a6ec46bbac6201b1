"""The log: append, read after a seq, head, tail; content-addressed blobs; the backends."""

"""Room: the command that checks a proof, as `crownest verify` and as the single file `crownest-verify`."""

"""HTTP: the contract translated to commands and views."""

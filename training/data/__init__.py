"""Loading of training and evaluation data; no file here opens a socket."""

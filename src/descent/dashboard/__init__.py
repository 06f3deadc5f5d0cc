"""TensorBoard over the runs that are worth a look: which, under what names, and the server."""

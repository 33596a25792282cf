"""The runtimes that execute model files, one file each; `table` lists them."""

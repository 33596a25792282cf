"""What turns a torch graph into a TFLite file, one step a module."""

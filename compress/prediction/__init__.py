"""What a model costs an ARM core, counted; and milliseconds, predicted from that."""

"""Names to models: timm, torchvision, our own nets, a checkpoint, a user's factory."""

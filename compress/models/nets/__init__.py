"""Networks that neither timm nor torchvision has; each file names its paper."""

"""What model folders share: ViT, decoder layers, hands, configurations, loading. The core imports none."""

"""What model folders share: ViT, decoder layers, hand models, configurations, loading. The core does not
import it.
"""

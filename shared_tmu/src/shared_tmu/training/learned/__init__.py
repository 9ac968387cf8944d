"""Training of the parts that token-compression methods learn, with the model's own weights frozen."""

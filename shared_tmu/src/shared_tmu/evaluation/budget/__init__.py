"""How little work a model needs within an error budget: fewer blocks (ECLM), a schedule, a mask, or all of
them."""

"""How a registered model is used."""

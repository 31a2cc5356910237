"""How each family turns texts, images and videos into what its network takes. No tensors."""

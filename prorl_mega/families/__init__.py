"""Model families, one file each: how Megatron's parameters are made of the tensors of a checkpoint."""

"""Plain `nn.Module`s from [B, F] features to [B, C] outputs; they know nothing of Lightning."""

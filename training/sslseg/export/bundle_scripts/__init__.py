"""What an exported model brings along so that MONAI's own commands run it."""

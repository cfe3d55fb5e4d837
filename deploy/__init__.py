"""What ships: images, signed releases, bills of materials, checks of manifests."""

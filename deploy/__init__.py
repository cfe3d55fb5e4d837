"""Everything for deployment: images, signed releases, bills of materials, checks of manifests."""

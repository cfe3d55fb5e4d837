"""The network.

preprocess                        what happens to an image before it
backbone, network, normalization  its layers
statistics                        of the normalisation, for averaged weights
serving                           its probabilities, as a server returns them
weights                           its weights files
imagenet, grow                    ImageNet's weights for a start, for larger backbones too
"""

"""The network.

preprocess                        its input, computed from an image
backbone, network                 its layers
convolution, normalization,       those that a backend computes better than Keras
dropout
statistics                        batch statistics for averaged weights
serving                           its outputs as probabilities, as served
weights                           its weights files
imagenet, net2net                 initial weights from ImageNet, grown for larger backbones
"""

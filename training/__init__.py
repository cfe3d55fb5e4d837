"""TSFD-Net: network, data, training, evaluation and export.

model, data, evaluation                   subpackages
train, evaluate, export, check, protocol  the commands
recipe, schedule, losses                  settings, learning rate and losses of a training run
callbacks, checkpoint, stopping           what else happens during one: validation, saving, progress
backend, on_cuda                          what Keras computes on
"""

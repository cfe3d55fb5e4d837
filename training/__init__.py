"""TSFD-Net: network, data, training, evaluation and export.

model, data, evaluation                   rooms of their own
train, evaluate, export, check, protocol  the commands
recipe, schedule, losses, callbacks       what decides a training: settings, learning rate, losses,
checkpoint                                and what happens around its steps
"""

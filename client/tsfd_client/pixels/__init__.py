"""What an image is: files of pictures and slides, their levels and scale, resampling, tissue.

image, tiff, source                 a whole picture in memory, with its scale
slide, levels, pyramid, scanner     a slide, read in parts
in_memory                           a picture in memory as a slide
box                                 a rectangle of pixels
resample                            to the network's scale, whole or in parts
tissue                              where there is any
origin                              where the image of a result is
"""

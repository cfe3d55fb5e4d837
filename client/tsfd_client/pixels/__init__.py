"""What an image is: files of pictures and slides, their levels and scale, resampling, tissue.

opening, folder                     a file, or the files of a folder -> `Slide`
slide                               a slide or picture, read in parts and at any scale
scanner, dicom, pyramid, in_memory  the levels of a file; levels: what they have in common
image, source                       a whole picture
tiff                                which of the images in a TIFF is the picture
colours                             samples as files store them -> RGB
scale                               the scale that a file states, in the terms of each format
orientation                         the tag by which cameras ask to turn a picture
box                                 a rectangle of pixels
resample                            to the network's scale, whole or in parts
tissue                              where an image has tissue; annotations: a user's polygons
artifacts                           what does not belong to it: pen, blur
origin                              where the image of a result is
"""

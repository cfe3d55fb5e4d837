"""What an image is: files of pictures and slides, their levels and scale, resampling, tissue.

opening, folder                     a file, or the files of a folder -> `Slide`
slide                               a slide or picture, read in parts and at any scale
scanner, dicom, pyramid, in_memory  the levels of a file; levels: what they have in common
image, source                       a whole picture
tiff                                which of the images in a TIFF is the picture
colours                             samples as files store them -> RGB
scale                               what a file says of its scale, in the words of each format
orientation                         what cameras say of how to turn it
box                                 a rectangle of pixels
resample                            to the network's scale, whole or in parts
tissue                              where there is any; annotations: outlined by the user
origin                              where the image of a result is
"""

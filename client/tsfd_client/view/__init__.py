"""Show images and their nuclei as a web map.

zooms      zoom levels of the map
mvt        encode polygons as a vector tile
outlines   outlines of nuclei as vector tiles, nuclei.pmtiles
points     centroids of nuclei, nuclei.bin
pixels     the image as map tiles, slide.pmtiles
images     images of results, opened when needed
kept       where files made for the page are kept
alone      one at a time changes a file
regions    regions drawn on the page, regions.geojson
marks      marks made on the page, annotations.geojson
results    results in a folder, and the data that the page needs of each
compare    compare two results of one image
differing  nuclei of which they disagree, to be suggested on the page
app, site  the page as a local web application, or as a folder for a web server
"""

"""The mark of generated content, which every file and every text carries."""

# IPTC NewsCodes, digital source type: made by a trained model. http://cv.iptc.org/newscodes/digitalsourcetype
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

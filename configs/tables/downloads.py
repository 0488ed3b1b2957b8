"""What a person has to fetch for a table, and where to put it."""

MIRFLICKR25K = (
  "mirflickr25k.zip and mirflickr25k_annotations_v080.zip"
  " (press.liacs.nl/mirflickr): into the folder given by"
  " --override=data.manual_dir=DIR"
)
NUSWIDE = (
  "NUS-WIDE (lms.comp.nus.edu.sg, on request for the images): Flickr/,"
  " Groundtruth/, ImageList/ and ConceptsList/ into the folder given by"
  " --override=data.manual_dir=DIR"
)
IAPRTC12 = (
  "IAPR TC-12 with the SAIAPR annotation (www.imageclef.org): images/ and the"
  " label files into the folder given by --override=data.manual_dir=DIR"
)
VOC = "PASCAL VOC: fetched by tensorflow-datasets when it is first used"
COCO = "COCO 2014: fetched by tensorflow-datasets when it is first used, 38 GB"
ALEXNET = (
  "AlexNet of ImageNet in torchvision's layout (.pth or .safetensors):"
  " anywhere, given by --override=model.pretrained=FILE"
)
RESNET50 = (
  "ResNet-50 of ImageNet in torchvision's layout (.pth or .safetensors):"
  " anywhere, given by --override=model.pretrained=FILE"
)

"""Files to download for the tables, and where to put them."""

MIRFLICKR25K = (
  "mirflickr25k.zip and mirflickr25k_annotations_v080.zip, from"
  " press.liacs.nl/mirflickr, into the folder of"
  " --override=data.manual_dir=DIR"
)
NUSWIDE = (
  "NUS-WIDE's folders Flickr, ImageList, ConceptsList and Groundtruth, from"
  " lms.comp.nus.edu.sg, into the folder of --override=data.manual_dir=DIR"
)
IAPRTC12 = (
  "IAPR TC-12 with SAIAPR's labels, the folders images and saiapr_tc-12, from"
  " www.imageclef.org/SIAPRdata, into the folder of"
  " --override=data.manual_dir=DIR"
)
VOC = (
  "PASCAL VOC: fetched by tensorflow-datasets, or its archives in the folder"
  " of --override=data.manual_dir=DIR"
)
COCO = (
  "COCO 2014, 38 GB: fetched by tensorflow-datasets, or its archives in the"
  " folder of --override=data.manual_dir=DIR"
)
ALEXNET = (
  "AlexNet trained on ImageNet, torchvision's layout (.pth or .safetensors):"
  " --override=model.pretrained=FILE"
)
BVLC_FILE = "bvlc_alexnet.npz"
BVLC_ALEXNET = (
  "For idhn_release, BVLC's AlexNet trained on ImageNet"
  f" (bvlc_alexnet.caffemodel), as {BVLC_FILE} in the working directory: arrays"
  " conv1.weight, conv1.bias, ..., fc7.bias, arranged as PyTorch arranges them"
)
RESNET50 = (
  "ResNet-50 trained on ImageNet, torchvision's layout (.pth or"
  " .safetensors): --override=model.pretrained=FILE"
)

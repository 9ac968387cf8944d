"""Top-1, top-5 and speed of classifiers with and without merging; see `shared_tmu.classification.evaluate`.

python scripts/eval_classification.py --img_size 112 --method all --r off,4x12   # ViT-S, Fashion-MNIST
python scripts/eval_classification.py --model vit_base_patch16_224 --pretrained --data IMAGENET --r off,8x12
"""

import sys

from shared_tmu.classification.evaluate import main

if __name__ == "__main__":
    sys.exit(main())

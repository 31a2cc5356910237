"""The part of the documented multimodal example that uploads, with endpoint and bucket changed."""
# ruff: noqa: D415, PTH118, PTH119, PTH207

import glob
import os
import sys

import oss2

SCRIPT_DIR = sys.argv[2]
OSS_ACCESS_KEY_ID = os.environ["OSS_ACCESS_KEY_ID"]
OSS_ACCESS_KEY_SECRET = os.environ["OSS_ACCESS_KEY_SECRET"]
OSS_ENDPOINT = sys.argv[1]
OSS_BUCKET_NAME = "002test"

auth = oss2.Auth(OSS_ACCESS_KEY_ID, OSS_ACCESS_KEY_SECRET)
bucket = oss2.Bucket(auth, OSS_ENDPOINT, OSS_BUCKET_NAME)


def upload_and_sign(relative_path, oss_key_prefix="milvus-embedding-test"):
    """Upload a local multimedia resource to OSS and return a signed URL (valid for 1 hour)"""
    full_path = os.path.join(SCRIPT_DIR, relative_path)
    oss_key = f"{oss_key_prefix}/{os.path.basename(relative_path)}"
    bucket.put_object_from_file(oss_key, full_path)
    signed_url = bucket.sign_url("GET", oss_key, 3600)
    print(f"  Upload successful: {oss_key} -> {signed_url[:80]}...")
    return signed_url


for path in sorted(glob.glob(os.path.join(SCRIPT_DIR, "*.JPEG"))):
    print(upload_and_sign(os.path.basename(path)))

"""What speaks S3 (PyPI moto), with one bucket: prints READY and its port, and serves until it is killed."""

import json
import os
import time

import boto3
from moto.server import ThreadedMotoServer

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
client.create_bucket(Bucket="packed")
# Tests look at it and damage it without a signature.
everything = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::packed/*"}
of_itself = {**everything, "Resource": "arn:aws:s3:::packed"}
policy = {"Version": "2012-10-17", "Statement": [everything, of_itself]}
client.put_bucket_policy(Bucket="packed", Policy=json.dumps(policy))
print(f"READY {port}", flush=True)
while True:
    time.sleep(3600)

# The model repository as an image, for models.oci of the chart and KServe's oci+native://.
#   chmod -R a+rX model_repository
#   docker build -f deploy/models.Dockerfile -t REGISTRY/tsfd-models .
# checkov:skip=CKV_DOCKER_2:nothing runs in it
# checkov:skip=CKV_DOCKER_3:nothing runs in it
FROM scratch
COPY model_repository /models

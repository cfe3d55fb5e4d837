# The base of the CPU variant: Debian, made by build.py, with the wheel's Triton in the place where
# NVIDIA's image has Triton. deploy/Dockerfile, which builds on it, sets user and health check.
# checkov:skip=CKV_DOCKER_2:a base
# checkov:skip=CKV_DOCKER_3:a base
# checkov:skip=CKV_DOCKER_4:an archive is unpacked
FROM scratch
ADD debian.tar /
COPY embedded-requirements.txt /tmp/
RUN grep ^nvidia-pytriton== /tmp/embedded-requirements.txt > /tmp/triton.txt \
    && pip install --no-cache-dir --no-deps --break-system-packages -r /tmp/triton.txt \
    && rm /tmp/*.txt \
    && ln -s /usr/local/lib/python3.11/dist-packages/pytriton/tritonserver /opt/tritonserver \
    && ln -s ../../python_backend_stubs/3.11/triton_python_backend_stub \
        /opt/tritonserver/backends/python/ \
    && chmod 755 /opt/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub

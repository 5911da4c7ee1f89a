# vitower as a container image: built in one stage, run in another that holds the program, the libraries it links, their
# licences and a bill of materials. Plain Dockerfile syntax: docker, podman and buildah build it.
#
#   docker build -t vitower --build-arg VITOWER_TORCH_INDEX=<index> .      CPU, no CUDA inside. The index of CPU wheels is what
#                                                                          PyTorch's "Get started" page shows behind
#                                                                          --index-url for Linux, Pip and CPU
#   docker build -t vitower --build-arg PIP_FIND_LINKS=<page> .            torch from a page of wheels (a URL; a folder
#                                                                          must be visible inside the build)
#
# For NVIDIA GPUs, with pip's own choice of torch, which is the CUDA build. This variant has been written and linted, but
# it has never been built or run:
#   docker build -t vitower:cuda \
#     --build-arg BUILD_IMAGE=nvidia/cuda:13.0.1-devel-ubuntu24.04 --build-arg RUNTIME_IMAGE=ubuntu:24.04 \
#     --build-arg CMAKE_ARGUMENTS=-DVITOWER_WITH_CUDA=ON .
ARG BUILD_IMAGE=debian:12.12-slim
ARG RUNTIME_IMAGE=debian:12.12-slim

FROM ${RUNTIME_IMAGE} AS base

FROM ${BUILD_IMAGE} AS build
ARG VITOWER_TORCH_INDEX
ARG PIP_FIND_LINKS
ARG CMAKE_ARGUMENTS
WORKDIR /src
# pip's own choice would be the CUDA build.
RUN case "${VITOWER_TORCH_INDEX}${PIP_FIND_LINKS}|${CMAKE_ARGUMENTS}" in \
    "|"*VITOWER_WITH_CUDA=ON*) ;; \
    "|"*) echo "set the build argument VITOWER_TORCH_INDEX to the index of CPU wheels, which PyTorch's 'Get started' page shows \
behind --index-url for Linux, Pip and CPU, or PIP_FIND_LINKS to a page of wheels" >&2; exit 1 ;; \
    esac
# What is built with, in a layer of its own: it changes seldom and takes longest.
COPY scripts/install.sh scripts/install.sh
RUN scripts/install.sh
COPY . .
RUN cmake --preset release ${CMAKE_ARGUMENTS} && cmake --build --preset release
# What the image runs with: everything that the program links and the base image lacks.
COPY --from=base /var/lib/dpkg/status /tmp/base-status
RUN strip --strip-unneeded build/release/bin/vitower build/release/lib/*.so \
 && python3 deploy/collect.py build/release/bin/vitower /image --base-status /tmp/base-status

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vitower" \
      org.opencontainers.image.description="Qwen3-VL vision tower embeddings over gRPC" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.documentation="docs/deploy.md"
RUN groupadd --gid 10001 vitower \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin vitower
COPY --from=build /image/ /
RUN ldconfig && vitower --version
USER 10001:10001
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
# A large model takes its time to load: until then failures do not count.
HEALTHCHECK --interval=10s --timeout=10s --start-period=5m --retries=3 \
  CMD ["/usr/bin/vitower", "healthcheck", "--server", "localhost:50051", "--quiet"]
# The exec form: the server is process 1 and gets SIGTERM itself.
ENTRYPOINT ["/usr/bin/vitower"]
CMD ["serve"]

# One image for the controller and the speaker. It runs with a read-only root and as any numeric user.
#
# The secrets lend a build machine's way to its package index (pip.conf, CA bundle) to RUN and leave it in no layer;
# a machine without them builds just the same.
FROM python:3.11-slim-bookworm AS build
COPY setup.cfg /src/setup.cfg
# What setup.cfg asks for, without the official Kubernetes client: only the CLI on a person's machine imports it, and
# it is larger than all else together. Compiled here, because a read-only root could never keep the .pyc files.
RUN --mount=type=secret,id=pipconf,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    python3 -c "import configparser; c = configparser.ConfigParser(); c.read('/src/setup.cfg'); \
print(*(r for r in c['options']['install_requires'].split('\n') if r and not r.startswith('kubernetes')), sep='\n')" \
      > /src/requirements.txt \
 && python3 -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check -r /src/requirements.txt \
 && rm -rf /opt/venv/lib/python3*/site-packages/pip* /opt/venv/lib/python3*/site-packages/setuptools* \
           /opt/venv/lib/python3*/site-packages/pkg_resources /opt/venv/lib/python3*/site-packages/_distutils_hack \
           /opt/venv/lib/python3*/site-packages/distutils-precedence.pth /opt/venv/bin/pip* \
 && find /opt/venv -name tests -type d -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib
COPY exabgp-conf /opt/metalbgp/exabgp-conf
COPY metalbgp /opt/metalbgp/metalbgp
COPY k8s/crds.yaml /opt/metalbgp/k8s/crds.yaml
# For `metalbgp hold --local` inside a speaker's pod, when the API server is away.
RUN printf '#!/bin/sh\nexec python3 -m metalbgp.cli "$@"\n' > /opt/venv/bin/metalbgp && chmod 755 /opt/venv/bin/metalbgp
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/metalbgp

FROM python:3.11-slim-bookworm
# The dependencies first and in a layer of their own: a changed line of code is a layer of kilobytes.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/metalbgp /opt/metalbgp
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/opt/metalbgp PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/metalbgp
USER 65532:65532
CMD ["python3", "-m", "metalbgp.controller"]

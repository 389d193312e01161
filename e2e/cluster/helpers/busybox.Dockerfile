# A shell and its tools, for the provisioner of volumes and for tests.
FROM scratch
COPY bin /bin
CMD ["/bin/sh"]

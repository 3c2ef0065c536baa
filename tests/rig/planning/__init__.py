"""The parts of planned.py: each is a function that gets the rig and a folder, and returns judgements."""
from planning import filters, gateway, script

PARTS = {"filters": filters.istio, "linkerd": filters.linkerd, "gateway": gateway.gateway, "script": script.script,
         "kubectl": script.kubectl}

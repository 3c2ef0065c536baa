
set -u
umask 077

say() { printf 'meshpcap: %s\n' "$*" >&2; }

# What runs in the container.
# COLLECT

if ! command -v kubectl >/dev/null 2>&1; then
    say "kubectl is not there: nothing was captured"
    exit 2
fi
if ! mkdir -p "$folder"; then
    say "the folder $folder cannot be made: nothing was captured"
    exit 2
fi
container=$proxy
if [ -n "$image" ]; then
    # An ephemeral container cannot be removed from a pod; this one ends by itself.
    container=meshpcap-$(date +%s)
    if ! kubectl debug -n "$namespace" "$pod" --image="$image" --target="$proxy" --container="$container" \
        --profile=netadmin --quiet -- sleep "$life" >/dev/null; then
        say "no container could be added to pod $pod: nothing was captured"
        rmdir "$folder"
        exit 2
    fi
    tries=0
    until kubectl exec -n "$namespace" "$pod" -c "$container" -- true 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -ge 60 ]; then
            say "container $container of pod $pod does not start (is the image $image there?): nothing was captured"
            rmdir "$folder"
            exit 2
        fi
        sleep 1
    done
fi
began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
kubectl get pods,services -A -o json >"$folder/names.json" 2>/dev/null || {
    say "pods and services cannot be listed: no names.json"
    rm -f "$folder/names.json"
}
failed=0
if ! collect | kubectl exec -i -n "$namespace" "$pod" -c "$container" -- sh -s >"$folder/.tar"; then
    failed=1
fi
if [ ! -s "$folder/.tar" ] || ! tar -C "$folder" -xf "$folder/.tar"; then
    say "nothing came back from container $container of pod $pod"
    failed=2
fi
rm -f "$folder/.tar"

say "waiting 11 s for Envoy to write its access log"
sleep 11
if [ -n "$access_log" ]; then
    kubectl exec -n "$namespace" "$pod" -c "$proxy" -- cat "$access_log" >"$folder/access.log"
else
    kubectl logs -n "$namespace" "$pod" -c "$proxy" --since-time="$began" >"$folder/access.log"
fi || say "no access.log"
[ -s "$folder/access.log" ] || rm -f "$folder/access.log"
if [ -n "$keys" ]; then
    kubectl exec -n "$namespace" "$pod" -c "$proxy" -- cat "$keys" >"$folder/keys.log" || {
        say "no keys.log"
        rm -f "$folder/keys.log"
    }
fi
[ "$failed" = 2 ] && exit 2
printf 'meshpcap merge %s/ -o %s.pcapng%s\n' "$folder" "${folder##*/}" "$merge_options"
exit "$failed"

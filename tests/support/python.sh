# Sourced from the repository's root: gives python, an interpreter with what tests/deploy/requirements.txt names. It is made
# once, in target/tools.
python=$PWD/target/tools/python/bin/python
wanted=$(sha256sum tests/deploy/requirements.txt | cut -c1-64)
if [ "$(cat target/tools/python/installed 2>/dev/null)" != "$wanted" ]; then
    rm -rf target/tools/python
    mkdir -p target/tools
    python3 -m venv target/tools/python
    "$python" -m pip install --quiet --disable-pip-version-check -r tests/deploy/requirements.txt
    echo "$wanted" >target/tools/python/installed
fi

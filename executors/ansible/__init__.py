"""Runs a system type's playbook, contained. The only package that knows Ansible, ansible-runner and bubblewrap."""

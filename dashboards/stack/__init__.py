"""What the stack is made alive with: a scripted agent, and a steady load for it."""

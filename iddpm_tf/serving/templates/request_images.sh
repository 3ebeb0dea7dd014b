python -m trainers.client --address=localhost:8500 --model=$name --num_samples=64 --output_dir=drawn

#include "model/cuda/device_memory.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "model/cuda/cuda_check.h"

namespace vitower {
namespace {

constexpr size_t kSmallestBlock = 4096;

}  // namespace

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceBuffer::~DeviceBuffer() { (void)cudaFree(data_); }

void DeviceBuffer::Reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  CheckCuda(cudaFree(std::exchange(data_, nullptr)), "cudaFree");
  bytes_ = 0;
  CheckCuda(cudaMalloc(&data_, bytes), "cudaMalloc");
  bytes_ = bytes;
}

PinnedBuffer::~PinnedBuffer() { (void)cudaFreeHost(data_); }

void PinnedBuffer::Reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  CheckCuda(cudaFreeHost(std::exchange(data_, nullptr)), "cudaFreeHost");
  bytes_ = 0;
  void* block = nullptr;
  CheckCuda(cudaMallocHost(&block, bytes), "cudaMallocHost");
  data_ = static_cast<std::byte*>(block);
  bytes_ = bytes;
}

PinnedPool::Shelf::~Shelf() {
  for (const auto& blocks : free) {
    for (std::byte* block : blocks) (void)cudaFreeHost(block);
  }
}

std::shared_ptr<std::byte> PinnedPool::Take(size_t bytes) {
  const size_t size = std::bit_ceil(std::max(bytes, kSmallestBlock));
  const auto power = static_cast<size_t>(std::countr_zero(size));
  std::byte* block = nullptr;
  {
    const std::lock_guard lock(shelf_->mu);
    auto& free = shelf_->free[power];
    if (!free.empty()) {
      block = free.back();
      free.pop_back();
    }
  }
  if (block == nullptr) {
    void* fresh = nullptr;
    CheckCuda(cudaMallocHost(&fresh, size), "cudaMallocHost");
    block = static_cast<std::byte*>(fresh);
  }
  return {block, [shelf = shelf_, power](std::byte* done) {
            const std::lock_guard lock(shelf->mu);
            shelf->free[power].push_back(done);
          }};
}

}  // namespace vitower

// private header
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace vitower {

// Memory of the current device that grows on demand and never shrinks. Growing frees what was there and waits for the
// device. Throws std::bad_alloc or CudaError.
class DeviceBuffer final {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  ~DeviceBuffer();

  void Reserve(size_t bytes);
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Page-locked host memory that grows on demand, likewise.
class PinnedBuffer final {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  ~PinnedBuffer();

  void Reserve(size_t bytes);
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Page-locked blocks for replies: a block goes back to the pool when its last owner lets go of it, on any thread and
// also after the pool's own end. Blocks are powers of two, kept for the life of the pool. Thread-safe.
class PinnedPool final {
 public:
  PinnedPool() : shelf_(std::make_shared<Shelf>()) {}

  std::shared_ptr<std::byte> Take(size_t bytes);

 private:
  struct Shelf {
    ~Shelf();
    std::mutex mu;
    std::vector<std::vector<std::byte*>> free{64};  // by the power of two
  };
  std::shared_ptr<Shelf> shelf_;
};

}  // namespace vitower

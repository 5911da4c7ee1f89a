#include "server/item_key.h"

#include <google/protobuf/io/zero_copy_stream.h>
#include <openssl/evp.h>

#include <memory>
#include <new>
#include <vector>

namespace vitower {
namespace {

// Digests what is written to it, in blocks that stay in a core's cache.
class DigestStream final : public google::protobuf::io::ZeroCopyOutputStream {
 public:
  DigestStream() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free), block_(64 << 10) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }

  void Add(const void* data, size_t size) {
    if (EVP_DigestUpdate(context_.get(), data, size) != 1) throw std::bad_alloc();
  }

  bool Next(void** data, int* size) override {
    Flush();
    *data = block_.data();
    *size = static_cast<int>(block_.size());
    used_ = block_.size();
    written_ += *size;
    return true;
  }
  void BackUp(int count) override {
    used_ -= static_cast<size_t>(count);
    written_ -= count;
  }
  int64_t ByteCount() const override { return written_; }

  ItemKey Finish() {
    Flush();
    ItemKey key{};
    if (EVP_DigestFinal_ex(context_.get(), key.data(), nullptr) != 1) throw std::bad_alloc();
    return key;
  }

 private:
  void Flush() {
    Add(block_.data(), used_);
    used_ = 0;
  }

  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
  std::vector<uint8_t> block_;
  size_t used_ = 0;
  int64_t written_ = 0;
};

}  // namespace

ItemKey KeyOf(const v1::Item& item, std::string_view model) {
  DigestStream digest;
  const uint64_t model_size = model.size();
  digest.Add(&model_size, sizeof(model_size));
  digest.Add(model.data(), model.size());
  item.SerializeToZeroCopyStream(&digest);
  return digest.Finish();
}

}  // namespace vitower

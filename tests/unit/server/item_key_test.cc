#include "server/item_key.h"

#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <functional>
#include <set>
#include <string>

namespace vitower {
namespace {

v1::Item Image(const std::string& bytes) {
  v1::Item item;
  item.set_image(bytes);
  return item;
}

TEST(ItemKey, IsTheSha256OfTheModelAndTheSerialisedItem) {
  for (const size_t size : {0, 1000, 65'530, 65'536, 200'000}) {
    const v1::Item item = Image(std::string(size, 'x'));
    const uint64_t model_size = 5;
    std::string text(reinterpret_cast<const char*>(&model_size), sizeof(model_size));
    text += "model" + item.SerializeAsString();
    ItemKey expected{};
    SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), expected.data());
    EXPECT_EQ(KeyOf(item, "model"), expected) << size;
  }
}

TEST(ItemKey, EveryOptionAndTheModelMakeAnother) {
  const std::function<void(v1::Item&)> changes[] = {
      [](v1::Item&) {},
      [](v1::Item& item) { item.set_image("other"); },
      [](v1::Item& item) { item.mutable_video()->set_data("bytes"); },
      [](v1::Item& item) { item.mutable_preprocessing()->set_max_pixels(4096); },
      [](v1::Item& item) { item.mutable_preprocessing()->set_apply_exif(false); },
      [](v1::Item& item) { item.mutable_outputs()->set_tokens(true); },
      [](v1::Item& item) { item.mutable_outputs()->set_pooled(true); },
      [](v1::Item& item) { item.mutable_outputs()->set_dtype(v1::DTYPE_FP32); }};
  std::set<ItemKey> keys = {KeyOf(Image("bytes"), "another")};
  for (const auto& change : changes) {
    v1::Item item = Image("bytes");
    change(item);
    keys.insert(KeyOf(item, "model"));
  }
  EXPECT_EQ(keys.size(), 1 + std::size(changes));
}

}  // namespace
}  // namespace vitower

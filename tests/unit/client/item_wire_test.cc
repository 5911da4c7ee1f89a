#include "client/item_wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tests/support/byte_buffer.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kKey = 300;

std::string Counting(size_t size) {
  std::string bytes(size, ' ');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + size);
  return bytes;
}

std::shared_ptr<const EmbedItem> ItemOf(ItemSource source) {
  return std::make_shared<const EmbedItem>(EmbedItem{.id = "an id", .source = std::move(source), .pooled = true});
}

std::shared_ptr<const EmbedItem> FramesItem() {
  return ItemOf(FramesSource{.images = {Counting(3000), "", Counting(10), Counting(70'000)}, .fps = 24});
}

std::shared_ptr<const EmbedItem> PictureItem(size_t size) { return ItemOf(ImageSource{Counting(size)}); }

TEST(ItemWire, ARequestIsWhatProtobufReadsBack) {
  v1::EmbedRequest request;
  ASSERT_TRUE(request.ParseFromString(BytesOf(RequestWire({FramesItem(), PictureItem(0), PictureItem(300'000)}))));
  ASSERT_EQ(request.items_size(), 3);
  const v1::Item& frames = request.items(0);
  EXPECT_EQ(frames.id(), "an id");
  EXPECT_THAT(frames.frames().images(), ElementsAre(Counting(3000), "", Counting(10), Counting(70'000)));
  EXPECT_EQ(frames.frames().fps(), 24);
  EXPECT_TRUE(frames.outputs().pooled());
  EXPECT_TRUE(request.items(1).has_image() && request.items(1).image().empty());
  EXPECT_EQ(request.items(2).image(), Counting(300'000));
}

TEST(ItemWire, LargeBytesOfEverySourceComeBesideItsOtherFields) {
  v1::EmbedRequest request;
  ClipSampling sampling;
  sampling.num_frames = 4;
  ASSERT_TRUE(request.ParseFromString(
      BytesOf(RequestWire({ItemOf(VideoSource{Counting(9000), sampling}),
                           ItemOf(RgbSource{.data = Counting(6144), .height = 32, .width = 64}),
                           ItemOf(PatchesSource{Counting(12'288), WireDType::kBf16, {1, 2, 2}})}))));
  ASSERT_EQ(request.items_size(), 3);
  EXPECT_EQ(request.items(0).video().data(), Counting(9000));
  EXPECT_EQ(request.items(0).video().sampling().num_frames(), 4U);
  EXPECT_EQ(request.items(1).rgb().data(), Counting(6144));
  EXPECT_EQ(request.items(1).rgb().height(), 32U);
  EXPECT_EQ(request.items(1).rgb().width(), 64U);
  EXPECT_EQ(request.items(2).patches().data(), Counting(12'288));
  EXPECT_EQ(request.items(2).patches().dtype(), v1::DTYPE_BF16);
  EXPECT_EQ(request.items(2).patches().grid_thw().w(), 2U);
}

TEST(ItemWire, APictureIsSentFromWhereItLiesAndKeptUntilItIs) {
  std::shared_ptr<const EmbedItem> item = PictureItem(300'000);
  const std::weak_ptr<const EmbedItem> watched = item;
  const auto* picture = reinterpret_cast<const uint8_t*>(std::get<ImageSource>(item->source).data.data());
  grpc::ByteBuffer request = RequestWire({item});
  item.reset();
  {
    const std::vector<grpc::Slice> slices = SlicesOf(request);
    EXPECT_TRUE(
        std::any_of(slices.begin(), slices.end(), [&](const grpc::Slice& slice) { return slice.begin() == picture; }));
  }
  EXPECT_FALSE(watched.expired());
  request.Clear();
  EXPECT_TRUE(watched.expired());
}

TEST(StreamItemWire, AnItemOfTheChunksSizeIsOneMessage) {
  const size_t size = StreamItemWire(kKey, PictureItem(5000), 1).item_bytes();
  StreamItemWire wire(kKey, PictureItem(5000), size);
  v1::EmbedStreamRequest message;
  ASSERT_TRUE(message.ParseFromString(BytesOf(wire.Next())));
  EXPECT_TRUE(wire.done());
  EXPECT_EQ(message.key(), kKey);
  EXPECT_EQ(message.item().ByteSizeLong(), size);
  EXPECT_EQ(message.item().image(), Counting(5000));
}

TEST(StreamItemWire, ALargerOneGoesInPartsThatTogetherAreTheItem) {
  for (const size_t chunk : {1'000, 4'096, 72'000}) {
    StreamItemWire wire(kKey, FramesItem(), chunk);
    ASSERT_GT(wire.item_bytes(), chunk);
    std::string bytes;
    while (!wire.done()) {
      v1::EmbedStreamRequest message;
      ASSERT_TRUE(message.ParseFromString(BytesOf(wire.Next())));
      EXPECT_EQ(message.key(), kKey);
      ASSERT_TRUE(message.has_part());
      EXPECT_EQ(message.part().offset(), bytes.size());
      EXPECT_EQ(message.part().total(), wire.item_bytes());
      EXPECT_EQ(message.part().data().size(), std::min(chunk, wire.item_bytes() - bytes.size()));
      bytes += message.part().data();
    }
    v1::EmbedRequest whole;
    ASSERT_TRUE(whole.ParseFromString(BytesOf(RequestWire({FramesItem()}))));
    v1::Item item;
    ASSERT_TRUE(item.ParseFromString(bytes));
    EXPECT_EQ(item.SerializeAsString(), whole.items(0).SerializeAsString());
  }
}

}  // namespace
}  // namespace vitower

#include <gmock/gmock.h>

#include <cstring>
#include <map>
#include <thread>

#include "client/client.h"
#include "tests/support/server_fixture.h"

namespace vitower {
namespace {

constexpr uint64_t kItems = 400;

Colour ColourOf(uint64_t key) { return {static_cast<uint8_t>(10 + key % 200), static_cast<uint8_t>(key / 200), 7}; }

// By its key: an image, a clip, patches or nothing that can be decoded.
EmbedItem ItemOf(uint64_t key) {
  EmbedItem item;
  item.id = std::to_string(key);
  if (key % 4 == 0) item.source = ImageSource{SolidBmp(64, 96, ColourOf(key))};
  if (key % 4 == 1) {
    item.source =
        RgbSource{.data = SolidRgb(64, 64, {ColourOf(key), ColourOf(key)}), .frames = 2, .height = 64, .width = 64};
  }
  if (key % 4 == 2) item.source = PatchesSource{std::string(16 * 1536 * 4, '\0'), WireDType::kFp32, {1, 4, 4}};
  if (key % 4 == 3) item.source = ImageSource{"no image"};
  return item;
}

void ExpectAnswerOf(uint64_t key, const EmbedResult& result) {
  EXPECT_EQ(result.id, std::to_string(key));
  if (key % 4 == 3) {
    EXPECT_EQ(result.status.code(), absl::StatusCode::kInvalidArgument);
    return;
  }
  ASSERT_TRUE(result.status.ok()) << key << ": " << result.status;
  const auto [t, h, w] = result.grid_thw;
  EXPECT_EQ(result.token_count, t * h * w / 4);
  ASSERT_EQ(result.outputs.size(), 3U);
  for (const OutputTensor& output : result.outputs) {
    EXPECT_EQ(output.data.size(), static_cast<size_t>(result.token_count * 8 * 4)) << output.name;
  }
  if (key % 4 == 2) return;
  const std::vector<Colour> pictures(key % 4 == 0 ? 1 : 2, ColourOf(key));
  const Frames frames{
      static_cast<int64_t>(pictures.size()), h * 16, w * 16, SolidRgb(w * 16, h * 16, pictures), {t, h, w}};
  float last = 0;
  std::memcpy(&last, &result.outputs[0].data[result.outputs[0].data.size() - sizeof(last)], sizeof(last));
  EXPECT_EQ(last, PuppetValue(frames, result.token_count - 1, 7, 0)) << key;
}

class CppClientTest : public ServerTest {
 protected:
  std::unique_ptr<Client> Connect() {
    Start();
    EXPECT_TRUE(server_->WaitUntilServing().ok());
    return *Client::Create({.server = "127.0.0.1:" + std::to_string(server_->port())});
  }
};

TEST_F(CppClientTest, EveryItemOfAStreamIsAnsweredOnceWithItsOwnAnswer) {
  const std::unique_ptr<Client> client = Connect();
  StreamOptions options;
  options.max_items = 32;
  options.chunk_bytes = 10'000;  // so that patches and pictures go up in parts
  const auto stream = client->OpenStream(options);
  std::jthread writer([&] {
    for (uint64_t key = 0; key < kItems; ++key) EXPECT_TRUE(stream->Write(key, ItemOf(key)).ok());
    stream->WritesDone();
  });
  std::map<uint64_t, int> answers;
  while (true) {
    const auto answer = stream->Read();
    ASSERT_TRUE(answer.ok()) << answer.status();
    if (!*answer) break;
    ++answers[(*answer)->key];
    ExpectAnswerOf((*answer)->key, (*answer)->result);
  }
  EXPECT_EQ(answers.size(), kItems);
  for (const auto& [key, count] : answers) EXPECT_EQ(count, 1) << key;
}

TEST_F(CppClientTest, AnAnswerAboveTheChunkIsPutTogether) {
  options_.stream_chunk_bytes = 64 << 10;
  const std::unique_ptr<Client> client = Connect();
  const auto info = client->GetModelInfo(std::chrono::system_clock::now() + kLongEnough);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->stream_chunk_bytes, 64 << 10);
  EmbedItem item;
  item.source = ImageSource{SolidBmp(3200, 3200, {9, 8, 7})};
  const auto stream = client->OpenStream({.chunk_bytes = info->stream_chunk_bytes});
  ASSERT_TRUE(stream->Write(1, item).ok());
  const auto streamed = stream->Read();
  ASSERT_TRUE(streamed.ok() && *streamed) << streamed.status();
  const auto called = client->Embed({item}, std::chrono::system_clock::now() + kLongEnough);
  ASSERT_TRUE(called.ok()) << called.status();
  const std::vector<OutputTensor>& whole = (*called)[0].outputs;
  ASSERT_GT(whole[0].data.size(), size_t{64} << 10);
  ASSERT_EQ((*streamed)->result.outputs.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_EQ((*streamed)->result.outputs[i].data, whole[i].data) << i;
}

TEST_F(CppClientTest, CancellingAStreamFreesWhatItHeld) {
  const std::unique_ptr<Client> client = Connect();
  puppet_->Hold();
  {
    const auto stream = client->OpenStream({});
    for (uint64_t key = 0; key < 8; ++key) ASSERT_TRUE(stream->Write(key, ItemOf(key)).ok());
    puppet_->AwaitPasses(2);
  }
  puppet_->Release();
  AwaitMetric("vitower_inflight_bytes", 0);
}

}  // namespace
}  // namespace vitower

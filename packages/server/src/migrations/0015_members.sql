-- Ends all that principals have in a space: memberships, groups, grants, the tasks that they registered, the tokens that were
-- made for them to act by, and invitations to their addresses; and all that their keys have made there. Invitations that
-- they made go with their memberships.
create function take_everything(space uuid, who uuid[]) returns void language plpgsql as $$
declare keys uuid[] := array(select k.id from api_keys k where k.principal_id = any(who));
begin
  delete from members m where m.space_id = space and (m.principal_id = any(who) or m.key_id = any(keys));
  delete from grants g where g.space_id = space and (g.principal_id = any(who) or g.key_id = any(keys));
  delete from group_members gm using principals g
    where g.id = gm.group_id and g.space_id = space and (gm.principal_id = any(who) or gm.key_id = any(keys));
  delete from tokens t where t.space_id = space and t.may_act_id = any(who);
  delete from tasks t where t.space_id = space and (t.registered_by = any(who) or t.key_id = any(keys)
    or exists (select from task_ties i where i.task_id = t.id and i.key_id = any(keys)));
  delete from invites i where i.space_id = space and i.email in (select u.email from auth."user" u where u.id = any(who));
end $$;

-- As in 0002; and a member's agents leave with them, so that nothing comes back with them: neither what an agent was
-- granted, nor an invitation that an agent's key has made.
create or replace function leave_takes_everything() returns trigger language plpgsql as $$
begin
  perform from spaces where id = old.space_id;
  if not found then return null; end if; -- it goes with all that is in it
  -- Whatever is being given to them at this moment refers to them: wait until it is there, and take it too.
  perform from principals where id = old.principal_id for update;
  perform from principals where owner_id = old.principal_id order by id for update;
  perform take_everything(old.space_id, array(
    select old.principal_id union all select p.id from principals p where p.owner_id = old.principal_id));
  return null;
end $$;

-- An agent that changes hands stays where its new owner is, too. Elsewhere it could do nothing until its old owner had it
-- back: then it would have what it was granted before.
create function leave_with_old_owner() returns trigger language plpgsql as $$
declare space uuid;
begin
  for space in
    select s.id from spaces s where (
        exists (select from members m where m.space_id = s.id and m.principal_id = new.id)
        or exists (select from grants g where g.space_id = s.id and g.principal_id = new.id)
        or exists (select from group_members gm join principals p on p.id = gm.group_id where p.space_id = s.id and gm.principal_id = new.id))
      and not exists (select from live_members m where m.space_id = s.id and m.principal_id = new.owner_id)
      and not exists (select from principals o where o.id = new.owner_id and o.space_id = s.id)
  loop
    perform take_everything(space, array[new.id]);
  end loop;
  return null;
end $$;
create trigger leave_with_old_owner after update of owner_id on principals
  for each row when (old.owner_id <> new.owner_id) execute function leave_with_old_owner();

-- An invitation hangs on the membership of its maker.
delete from invites i where not exists (select from members m where m.space_id = i.space_id and m.principal_id = i.invited_by);
alter table invites alter column invited_by set not null;
alter table invites drop constraint invites_invited_by_fkey;
alter table invites add foreign key (space_id, invited_by) references members (space_id, principal_id) on delete cascade;
create index on invites (space_id, invited_by);
drop index invites_space_id_idx;

-- As in 0002, but to know somebody by another space than that of the call takes memberships of both that no key has made:
-- what is made of such knowledge in a space of one's own would outlive the key.
create or replace function knows(caller uuid, other uuid, space uuid) returns boolean language sql stable as $$
  with mine as materialized (
    select m.space_id from members m join principals c on c.id = m.principal_id left join principals o on o.id = c.owner_id
    where m.principal_id = caller and m.key_id is null and (c.kind <> 'a' or o.space_id = m.space_id
      or exists (select from members om where om.space_id = m.space_id and om.principal_id = o.id and om.key_id is null offset 0))),
  asked as materialized (
    select coalesce(p.owner_id, other) as owner, coalesce(p.space_id, other) as home
    from (select) as nothing left join principals p on p.id = other)
  select owner in (select managed_owners(caller))
    or exists (select from live_members m where m.space_id = space and m.principal_id in (owner, other))
    or exists (select from principals g where g.id = owner and g.space_id = space)
    or exists (select from mine where mine.space_id = home
      or exists (select from members m where m.space_id = mine.space_id and m.principal_id = other and m.key_id is null offset 0))
  from asked
$$;

-- The key by which names are compared: two names with one key look alike. It is NFKC_Casefold (Unicode 5.18, D146 and
-- D147) but that a dotless i counts as an i: composed and decomposed, in any case, with or without characters that are not
-- seen. The letters are listed here, and not left to lower(), which goes by the locale of the database. What names may hold, and the same key
-- for programs, is in packages/protocol/src/name.ts.
create function name_key(name text) returns text language sql immutable strict parallel safe as $$
  select case when name ~ '^[ -~]*$' then lower(name collate "C") else
    normalize(regexp_replace(replace(replace(translate(normalize(name, nfkd),
        'ABCDEFGHIJKLMNOPQRSTUVWXYZÆÐØÞĐĦıŁŊŒŦƁƂƄƆƇƉƊƋƎƏƐƑƓƔƖƗƘƜƝƟƢƤƦƧƩƬƮƱƲƳƵƷƸƼǤǶǷȜȠȢȤȺȻȽȾɁɃɄɅɆɈɊɌɎͰͲͶͿΑΒΓΔΕΖΗΘΙ'
        'ΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩςϏϘϚϜϞϠϢϤϦϨϪϬϮϷϺϽϾϿЂЄЅІЈЉЊЋЏАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯѠѢѤѦѨѪѬѮѰѲѴѸѺѼѾҀҊҌҎҐҒҔҖҘҚҜҞҠҢҤ'
        'ҦҨҪҬҮҰҲҴҶҸҺҼҾӀӃӅӇӉӋӍӔӘӠӨӶӺӼӾԀԂԄԆԈԊԌԎԐԒԔԖԘԚԜԞԠԢԤԦԨԪԬԮԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖႠႡႢႣႤႥႦႧႨႩႪႫႬႭ'
        'ႮႯႰႱႲႳႴႵႶႷႸႹႺႻႼႽႾႿჀჁჂჃჄჅჇჍᎠᎡᎢᎣᎤᎥᎦᎧᎨᎩᎪᎫᎬᎭᎮᎯᎰᎱᎲᎳᎴᎵᎶᎷᎸᎹᎺᎻᎼᎽᎾᎿᏀᏁᏂᏃᏄᏅᏆᏇᏈᏉᏊᏋᏌᏍᏎᏏᏐᏑᏒᏓᏔᏕᏖᏗᏘᏙᏚᏛᏜᏝᏞᏟᏠᏡᏢᏣᏤᏥᏦᏧᏨᏩᏪᏫᏬᏭ'
        'ᏮᏯᏰᏱᏲᏳᏴᏵᲀᲁᲂᲃᲄᲅᲆᲇᲈᲉᲐᲑᲒᲓᲔᲕᲖᲗᲘᲙᲚᲛᲜᲝᲞᲟᲠᲡᲢᲣᲤᲥᲦᲧᲨᲩᲪᲫᲬᲭᲮᲯᲰᲱᲲᲳᲴᲵᲶᲷᲸᲹᲺᲽᲾᲿẞỺỼỾℲↃⰀⰁⰂⰃⰄⰅⰆⰇⰈⰉⰊⰋⰌⰍⰎⰏⰐⰑⰒⰓⰔⰕⰖⰗⰘⰙⰚⰛⰜⰝⰞⰟⰠⰡ'
        'ⰢⰣⰤⰥⰦⰧⰨⰩⰪⰫⰬⰭⰮⰯⱠⱢⱣⱤⱧⱩⱫⱭⱮⱯⱰⱲⱵⱾⱿⲀⲂⲄⲆⲈⲊⲌⲎⲐⲒⲔⲖⲘⲚⲜⲞⲠⲢⲤⲦⲨⲪⲬⲮⲰⲲⲴⲶⲸⲺⲼⲾⳀⳂⳄⳆⳈⳊⳌⳎⳐⳒⳔⳖⳘⳚⳜⳞⳠⳢⳫⳭⳲꙀꙂꙄꙆꙈꙊꙌꙎꙐꙒꙔꙖꙘꙚꙜꙞꙠꙢꙤꙦꙨꙪ'
        'ꙬꚀꚂꚄꚆꚈꚊꚌꚎꚐꚒꚔꚖꚘꚚꜢꜤꜦꜨꜪꜬꜮꜲꜴꜶꜸꜺꜼꜾꝀꝂꝄꝆꝈꝊꝌꝎꝐꝒꝔꝖꝘꝚꝜꝞꝠꝢꝤꝦꝨꝪꝬꝮꝹꝻꝽꝾꞀꞂꞄꞆꞋꞍꞐꞒꞖꞘꞚꞜꞞꞠꞢꞤꞦꞨꞪꞫꞬꞭꞮꞰꞱꞲꞳꞴꞶꞸꞺꞼꞾꟀꟂꟄꟅꟆꟇꟉꟋꟌ꟎Ꟑ꟒꟔Ꟗ'
        'ꟘꟚꟜꟵ𐐀𐐁𐐂𐐃𐐄𐐅𐐆𐐇𐐈𐐉𐐊𐐋𐐌𐐍𐐎𐐏𐐐𐐑𐐒𐐓𐐔𐐕𐐖𐐗𐐘𐐙𐐚𐐛𐐜𐐝𐐞𐐟𐐠𐐡𐐢𐐣𐐤𐐥𐐦𐐧𐒰𐒱𐒲𐒳𐒴𐒵𐒶𐒷𐒸𐒹𐒺𐒻𐒼𐒽𐒾𐒿𐓀𐓁𐓂𐓃𐓄𐓅𐓆𐓇𐓈𐓉𐓊𐓋𐓌𐓍𐓎𐓏𐓐𐓑𐓒𐓓𐕰𐕱𐕲𐕳𐕴𐕵𐕶𐕷𐕸𐕹𐕺𐕼𐕽𐕾𐕿𐖀𐖁𐖂𐖃𐖄𐖅𐖆𐖇𐖈'
        '𐖉𐖊𐖌𐖍𐖎𐖏𐖐𐖑𐖒𐖔𐖕𐲀𐲁𐲂𐲃𐲄𐲅𐲆𐲇𐲈𐲉𐲊𐲋𐲌𐲍𐲎𐲏𐲐𐲑𐲒𐲓𐲔𐲕𐲖𐲗𐲘𐲙𐲚𐲛𐲜𐲝𐲞𐲟𐲠𐲡𐲢𐲣𐲤𐲥𐲦𐲧𐲨𐲩𐲪𐲫𐲬𐲭𐲮𐲯𐲰𐲱𐲲𐵐𐵑𐵒𐵓𐵔𐵕𐵖𐵗𐵘𐵙𐵚𐵛𐵜𐵝𐵞𐵟𐵠𐵡𐵢𐵣𐵤𐵥𑢠𑢡𑢢𑢣𑢤𑢥𑢦𑢧𑢨𑢩𑢪𑢫𑢬𑢭𑢮𑢯𑢰𑢱𑢲𑢳'
        '𑢴𑢵𑢶𑢷𑢸𑢹𑢺𑢻𑢼𑢽𑢾𑢿𖹀𖹁𖹂𖹃𖹄𖹅𖹆𖹇𖹈𖹉𖹊𖹋𖹌𖹍𖹎𖹏𖹐𖹑𖹒𖹓𖹔𖹕𖹖𖹗𖹘𖹙𖹚𖹛𖹜𖹝𖹞𖹟𖺠𖺡𖺢𖺣𖺤𖺥𖺦𖺧𖺨𖺩𖺪𖺫𖺬𖺭𖺮𖺯𖺰𖺱𖺲𖺳𖺴𖺵𖺶𖺷𖺸𞤀𞤁𞤂𞤃𞤄𞤅𞤆𞤇𞤈𞤉𞤊𞤋𞤌𞤍𞤎𞤏𞤐𞤑𞤒𞤓𞤔𞤕𞤖𞤗𞤘𞤙𞤚𞤛𞤜𞤝𞤞𞤟𞤠𞤡',
        'abcdefghijklmnopqrstuvwxyzæðøþđħiłŋœŧɓƃƅɔƈɖɗƌǝəɛƒɠɣɩɨƙɯɲɵƣƥʀƨʃƭʈʊʋƴƶʒƹƽǥƕƿȝƞȣȥⱥȼƚⱦɂƀʉʌɇɉɋɍɏͱͳͷϳαβγδεζηθι'
        'κλμνξοπρστυφχψωσϗϙϛϝϟϡϣϥϧϩϫϭϯϸϻͻͼͽђєѕіјљњћџабвгдежзиклмнопрстуфхцчшщъыьэюяѡѣѥѧѩѫѭѯѱѳѵѹѻѽѿҁҋҍҏґғҕҗҙқҝҟҡңҥ'
        'ҧҩҫҭүұҳҵҷҹһҽҿӏӄӆӈӊӌӎӕәӡөӷӻӽӿԁԃԅԇԉԋԍԏԑԓԕԗԙԛԝԟԡԣԥԧԩԫԭԯաբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆⴀⴁⴂⴃⴄⴅⴆⴇⴈⴉⴊⴋⴌⴍ'
        'ⴎⴏⴐⴑⴒⴓⴔⴕⴖⴗⴘⴙⴚⴛⴜⴝⴞⴟⴠⴡⴢⴣⴤⴥⴧⴭꭰꭱꭲꭳꭴꭵꭶꭷꭸꭹꭺꭻꭼꭽꭾꭿꮀꮁꮂꮃꮄꮅꮆꮇꮈꮉꮊꮋꮌꮍꮎꮏꮐꮑꮒꮓꮔꮕꮖꮗꮘꮙꮚꮛꮜꮝꮞꮟꮠꮡꮢꮣꮤꮥꮦꮧꮨꮩꮪꮫꮬꮭꮮꮯꮰꮱꮲꮳꮴꮵꮶꮷꮸꮹꮺꮻꮼꮽ'
        'ꮾꮿᏸᏹᏺᏻᏼᏽвдосттъѣꙋᲊაბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰჱჲჳჴჵჶჷჸჹჺჽჾჿßỻỽỿⅎↄⰰⰱⰲⰳⰴⰵⰶⰷⰸⰹⰺⰻⰼⰽⰾⰿⱀⱁⱂⱃⱄⱅⱆⱇⱈⱉⱊⱋⱌⱍⱎⱏⱐⱑ'
        'ⱒⱓⱔⱕⱖⱗⱘⱙⱚⱛⱜⱝⱞⱟⱡɫᵽɽⱨⱪⱬɑɱɐɒⱳⱶȿɀⲁⲃⲅⲇⲉⲋⲍⲏⲑⲓⲕⲗⲙⲛⲝⲟⲡⲣⲥⲧⲩⲫⲭⲯⲱⲳⲵⲷⲹⲻⲽⲿⳁⳃⳅⳇⳉⳋⳍⳏⳑⳓⳕⳗⳙⳛⳝⳟⳡⳣⳬⳮⳳꙁꙃꙅꙇꙉꙋꙍꙏꙑꙓꙕꙗꙙꙛꙝꙟꙡꙣꙥꙧꙩꙫ'
        'ꙭꚁꚃꚅꚇꚉꚋꚍꚏꚑꚓꚕꚗꚙꚛꜣꜥꜧꜩꜫꜭꜯꜳꜵꜷꜹꜻꜽꜿꝁꝃꝅꝇꝉꝋꝍꝏꝑꝓꝕꝗꝙꝛꝝꝟꝡꝣꝥꝧꝩꝫꝭꝯꝺꝼᵹꝿꞁꞃꞅꞇꞌɥꞑꞓꞗꞙꞛꞝꞟꞡꞣꞥꞧꞩɦɜɡɬɪʞʇʝꭓꞵꞷꞹꞻꞽꞿꟁꟃꞔʂᶎꟈꟊɤꟍ꟏ꟑꟓꟕꟗ'
        'ꟙꟛƛꟶ𐐨𐐩𐐪𐐫𐐬𐐭𐐮𐐯𐐰𐐱𐐲𐐳𐐴𐐵𐐶𐐷𐐸𐐹𐐺𐐻𐐼𐐽𐐾𐐿𐑀𐑁𐑂𐑃𐑄𐑅𐑆𐑇𐑈𐑉𐑊𐑋𐑌𐑍𐑎𐑏𐓘𐓙𐓚𐓛𐓜𐓝𐓞𐓟𐓠𐓡𐓢𐓣𐓤𐓥𐓦𐓧𐓨𐓩𐓪𐓫𐓬𐓭𐓮𐓯𐓰𐓱𐓲𐓳𐓴𐓵𐓶𐓷𐓸𐓹𐓺𐓻𐖗𐖘𐖙𐖚𐖛𐖜𐖝𐖞𐖟𐖠𐖡𐖣𐖤𐖥𐖦𐖧𐖨𐖩𐖪𐖫𐖬𐖭𐖮𐖯'
        '𐖰𐖱𐖳𐖴𐖵𐖶𐖷𐖸𐖹𐖻𐖼𐳀𐳁𐳂𐳃𐳄𐳅𐳆𐳇𐳈𐳉𐳊𐳋𐳌𐳍𐳎𐳏𐳐𐳑𐳒𐳓𐳔𐳕𐳖𐳗𐳘𐳙𐳚𐳛𐳜𐳝𐳞𐳟𐳠𐳡𐳢𐳣𐳤𐳥𐳦𐳧𐳨𐳩𐳪𐳫𐳬𐳭𐳮𐳯𐳰𐳱𐳲𐵰𐵱𐵲𐵳𐵴𐵵𐵶𐵷𐵸𐵹𐵺𐵻𐵼𐵽𐵾𐵿𐶀𐶁𐶂𐶃𐶄𐶅𑣀𑣁𑣂𑣃𑣄𑣅𑣆𑣇𑣈𑣉𑣊𑣋𑣌𑣍𑣎𑣏𑣐𑣑𑣒𑣓'
        '𑣔𑣕𑣖𑣗𑣘𑣙𑣚𑣛𑣜𑣝𑣞𑣟𖹠𖹡𖹢𖹣𖹤𖹥𖹦𖹧𖹨𖹩𖹪𖹫𖹬𖹭𖹮𖹯𖹰𖹱𖹲𖹳𖹴𖹵𖹶𖹷𖹸𖹹𖹺𖹻𖹼𖹽𖹾𖹿𖺻𖺼𖺽𖺾𖺿𖻀𖻁𖻂𖻃𖻄𖻅𖻆𖻇𖻈𖻉𖻊𖻋𖻌𖻍𖻎𖻏𖻐𖻑𖻒𖻓𞤢𞤣𞤤𞤥𞤦𞤧𞤨𞤩𞤪𞤫𞤬𞤭𞤮𞤯𞤰𞤱𞤲𞤳𞤴𞤵𞤶𞤷𞤸𞤹𞤺𞤻𞤼𞤽𞤾𞤿𞥀𞥁𞥂𞥃'),
      'ß', 'ss'), U&'\0345', 'ι'), '[\u180B-\u180D\u180F\u200C\u200D\uFE00-\uFE0F\U000E0100-\U000E01EF]', '', 'g'), nfkc)
  end
$$;

-- Names that have one key by now: the first stays, each later one gets a number.
create function pg_temp.number_names(of_table regclass, of_kind text, scope text) returns void language plpgsql as $$
declare one record; n integer; other text; taken boolean;
begin
  for one in execute format(
    'select id, name, scope from (select id, name, %2$I as scope, row_number() over (partition by %2$I, name_key(name) order by id) as nth
       from %1$s t where %3$s) named where nth > 1 order by id', of_table, scope, of_kind)
  loop
    n := 1;
    loop
      n := n + 1;
      other := rtrim(left(one.name, 56)) || ' ' || n;
      execute format('select exists (select from %1$s t where %2$I = $1 and name_key(name) = name_key($2) and %3$s)', of_table, scope, of_kind)
        into taken using one.scope, other;
      exit when not taken;
    end loop;
    execute format('update %s set name = $1 where id = $2', of_table) using other, one.id;
  end loop;
end $$;
drop index agent_name;
drop index group_name;
drop index api_key_name;
select pg_temp.number_names('principals', $$kind = 'a'$$, 'owner_id');
select pg_temp.number_names('principals', $$kind = 'g'$$, 'space_id');
select pg_temp.number_names('api_keys', 'true', 'principal_id');
create unique index agent_name on principals (owner_id, name_key(name)) where kind = 'a';
create unique index group_name on principals (space_id, name_key(name)) where kind = 'g';
create unique index api_key_name on api_keys (principal_id, name_key(name));

-- How many of each there may be; null = no limit. A server writes its setting here when it starts.
create table limits (name text primary key, most integer check (most > 0));

-- Whose a space is, as far as limits go: they count also when they have left it.
alter table spaces add column created_by uuid references principals (id) on delete set null;
create index on spaces (created_by);

-- Refuses what goes over a limit. The owner's row, or the space's, is locked before the rows are counted: of two transactions
-- that add at once, the second counts what the first has added. What is there already stays, however many it is.
create function keep_limit(limit_name text, of_table text, scope_column text, scope uuid, filter text) returns void language plpgsql as $$
declare most integer; there integer;
begin
  select l.most into most from limits l where l.name = limit_name;
  if most is null then return; end if;
  perform from spaces s where s.id = scope for no key update;
  if not found then perform from principals p where p.id = scope for no key update; end if;
  execute format('select count(*) from (select from %I t where %I = $1 and %s limit $2 + 1) counted', of_table, scope_column, filter)
    into there using scope, most;
  if there > most then
    raise exception 'more than % %', most, limit_name using errcode = 'integrity_constraint_violation', constraint = 'limit_' || limit_name;
  end if;
end $$;

create function keep_limit_of_added() returns trigger language plpgsql as $$
begin
  perform keep_limit(tg_argv[0], tg_table_name, tg_argv[1], scope, tg_argv[2])
    from (select distinct (to_jsonb(a) ->> tg_argv[1])::uuid as scope from added a order by 1) scopes where scope is not null;
  return null;
end $$;
create trigger keep_limit after insert on spaces referencing new table as added
  for each statement execute function keep_limit_of_added('spaces', 'created_by', 'true');
create trigger keep_limit_of_agents after insert on principals referencing new table as added
  for each statement execute function keep_limit_of_added('agents', 'owner_id', 'true');
create trigger keep_limit_of_groups after insert on principals referencing new table as added
  for each statement execute function keep_limit_of_added('groups', 'space_id', 'kind = ''g''');
create trigger keep_limit after insert on api_keys referencing new table as added
  for each statement execute function keep_limit_of_added('keys', 'principal_id', 'true');
create trigger keep_limit after insert on members referencing new table as added
  for each statement execute function keep_limit_of_added('members', 'space_id', 'true');
create trigger keep_limit after insert on group_members referencing new table as added
  for each statement execute function keep_limit_of_added('members', 'group_id', 'true');
create trigger keep_limit after insert on grants referencing new table as added
  for each statement execute function keep_limit_of_added('grants', 'space_id', 'true');
create trigger keep_limit after insert on invites referencing new table as added
  for each statement execute function keep_limit_of_added('invitations', 'space_id', 'expires_at > now()');

-- An agent that is given to somebody counts among theirs.
create function keep_limit_of_owner() returns trigger language plpgsql as $$
begin
  perform keep_limit('agents', 'principals', 'owner_id', new.owner_id, 'true');
  return null;
end $$;
create trigger keep_limit_of_owner after update of owner_id on principals
  for each row when (old.owner_id <> new.owner_id) execute function keep_limit_of_owner();

-- As in 0009, and the links that were mailed before to choose a password: better-auth keeps them by whose they are.
create or replace function auth.password_ends_logins() returns trigger language plpgsql as $$
begin
  delete from auth.session where "userId" = new."userId";
  delete from auth.logins where user_id = new."userId";
  delete from auth."deviceCode" where "userId" = new."userId";
  delete from auth.verification where value = new."userId"::text;
  return null;
end $$;
